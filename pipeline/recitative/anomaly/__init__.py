"""Anomaly detection in sound, by a model that predicts each frame of normal sound."""
