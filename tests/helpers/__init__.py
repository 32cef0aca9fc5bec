"""What several tests need; nothing here knows one particular test."""
