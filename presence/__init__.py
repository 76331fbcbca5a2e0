"""Who is where and doing what. Knows no socket."""
