"""Networks trained elsewhere: brought over with proof, or refused with the reason."""
