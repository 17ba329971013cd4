"""`pnag predict`, and `pnag table` with its `transfer`."""
