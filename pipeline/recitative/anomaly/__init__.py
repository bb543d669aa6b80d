"""The task of saying what comes next in a sound, frame by frame; what surprises is unusual."""
