"""The mathematics of one-shot recovery: Gram matrices of inputs, and what follows from them."""
