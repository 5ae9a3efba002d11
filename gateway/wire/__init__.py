"""Pure translations between OpenAI's chat completions and other vendors' wire formats."""
