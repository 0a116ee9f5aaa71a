"""YAML manifests → frozen values. All problems at once, each with file:line and path."""
