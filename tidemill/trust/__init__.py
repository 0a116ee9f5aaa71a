"""Who may say what a channel holds: TUF roles, keys and the checks of readers (ADR 14)."""
