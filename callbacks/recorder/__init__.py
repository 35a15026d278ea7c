"""Parts of the flight recorder: numbers of the last steps, kept batches and states, bundles and their replay."""
