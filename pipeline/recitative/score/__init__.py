"""Error rates, calibration, classification and detection scores, tables of results."""
