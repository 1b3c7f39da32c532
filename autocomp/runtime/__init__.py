"""onnxruntime: one exporter session, one clock."""
