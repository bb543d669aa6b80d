"""Keyword spotting: search, detections, thresholds and scores."""
