"""Read a run folder, turn it into tables, figures and a report. Needs neither torch nor Ray nor Optuna."""
