"""The compressed file: a safetensors container whose codes are range-coded to their entropy."""
