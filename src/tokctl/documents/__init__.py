"""The JSON documents of the API: how models are encoded to them and decoded from them."""
