"""How much each channel, head or neuron matters: criteria as one composable family."""
