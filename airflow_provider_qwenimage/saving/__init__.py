"""Puts result images where the user wants them: fetched and checked in a local file first, then stored in one step."""
