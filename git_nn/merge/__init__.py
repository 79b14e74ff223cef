"""Three versions of a model -> decisions, tensor by tensor; knows neither Git nor the store."""
