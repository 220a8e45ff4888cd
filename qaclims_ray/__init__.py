"""QA-CLIMS on Ray: weakly supervised semantic segmentation from image labels."""
