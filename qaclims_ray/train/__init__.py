"""4. Fit a network: classifier (CAM baseline), RITC (QA-CLIMS)."""
