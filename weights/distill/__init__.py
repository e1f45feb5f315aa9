"""The program that trained the embedded network: the one part of weights/ that uses style/, and says so."""
