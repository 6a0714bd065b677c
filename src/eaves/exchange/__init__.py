"""Formats that others speak. Import from its modules, so that who needs one does not load the libraries of all."""
