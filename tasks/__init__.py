"""The work: plain typed functions, none of which knows Prefect."""
