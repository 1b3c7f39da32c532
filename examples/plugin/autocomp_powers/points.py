"""A reward: what is gained on the dense network."""


def points(step):
    """Accuracy above the dense network's in percentage points, at the end; 0 before."""
    if step.result is None:
        return 0.0
    return 100 * (step.result.accuracy - step.result.dense_accuracy)
