"""The sections of an experiment, in pipeline order; `config.py` joins them.

A string below a field documents it, with its unit; `jobs/show_config.py` prints them.
What changes a result lives in `data` to `evaluate`. `Compute` alone holds actors, workers and batch
sizes per actor: another cluster changes nothing else. `compute.train.num_workers` alone has an
effect on results.
"""
