"""The corpus by vLLM: Ray Data's processor answers question by question."""
