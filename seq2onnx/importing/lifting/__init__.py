"""From the operators of any framework to layers."""
