"""Every picture that ctseg makes: slices, contact sheets, curves, and pages with a slice viewer."""
