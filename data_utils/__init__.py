"""Images by name: data sets, their splits, and batches on the device."""
