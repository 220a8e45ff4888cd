"""8. Search: which values of the configuration give the best CAMs."""
