"""A network of the Llama kind in C: weights of four or eight bits, for x86 with AVX2 or AVX-512."""
