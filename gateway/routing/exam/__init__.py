"""Questions in the form of an exam, where length, numbers and format tell much: trees read them."""
