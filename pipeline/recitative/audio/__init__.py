"""Audio files, resampling, voice activity, microphones and pipes."""
