"""Written music: notes, their files, events, grids of voices, sound, pictures and statistics. No PyTorch."""
