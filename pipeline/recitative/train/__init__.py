"""The training loop; it knows neither CTC nor music."""
