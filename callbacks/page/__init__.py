"""Report of finished runs: read from event files, drawn, and written as one page, as Markdown and as JSON."""
