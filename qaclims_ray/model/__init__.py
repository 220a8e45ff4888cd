"""3. Networks and maths: a library that knows neither Ray nor the config."""
