"""Keyword spotting: search, detections, spotter, evaluation."""
