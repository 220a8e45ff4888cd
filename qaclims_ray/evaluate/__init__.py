"""7. mIoU of CAMs, seeds, masks or predictions."""
