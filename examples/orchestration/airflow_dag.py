"""Penstock under Airflow: what a day needs, and a model once a week.

Exit code 99 says that there was nothing to do. BashOperator calls such a task skipped (``skip_on_exit_code``), which
must not skip what comes after it (``none_failed``). Exit code 3 of parity, and 10 and 11 of the gates, are failures
like any other: Airflow stops there, and somebody looks.
"""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

ARCHIVE = "s3://penstock-archive/fraud?region=eu-central-1"
DATA = "/data/penstock"
DEFAULTS = {"retries": 3, "retry_delay": timedelta(minutes=5), "trigger_rule": "none_failed"}

with DAG(
    dag_id="penstock_fraud_daily",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it as UTC
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
):
    archive = BashOperator(
        task_id="archive",
        bash_command=f"penstock archive run fraud --out '{ARCHIVE}' --until-caught-up",
        skip_on_exit_code=99,
    )
    compact = BashOperator(
        task_id="compact",
        bash_command=f"penstock archive compact '{ARCHIVE}' --json",
        skip_on_exit_code=99,
    )
    parity = BashOperator(
        task_id="parity",
        bash_command="penstock parity fraud"
        " --from {{ data_interval_start | ds }} --to {{ data_interval_end | ds }}"
        f" --sample 1/16 --source '{ARCHIVE}' --json",
        retries=0,  # a difference stays
    )
    archive >> compact >> parity

with DAG(
    dag_id="penstock_fraud_weekly",
    schedule="0 5 * * 1",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
):
    # The events of four weeks to train on, and those of the week after them for the gates.
    train_days = "--from {{ macros.ds_add(ds, -35) }} --to {{ macros.ds_add(ds, -7) }}"
    check_days = "--from {{ macros.ds_add(ds, -7) }} --to {{ ds }}"
    backfill = BashOperator(
        task_id="backfill",
        bash_command=f"penstock backfill run fraud {train_days} --out {DATA}/{{{{ ds }}}}/train --source '{ARCHIVE}'"
        " || [ $? -eq 99 ]",  # complete already: what follows goes on
    )
    later = BashOperator(
        task_id="later",
        bash_command=f"penstock backfill run fraud {check_days} --out {DATA}/{{{{ ds }}}}/check --source '{ARCHIVE}'"
        " || [ $? -eq 99 ]",
    )
    training_set = BashOperator(
        task_id="training_set",
        bash_command=f"penstock training-set build fraud {train_days} --backfill {DATA}/{{{{ ds }}}}/train"
        f" --out {DATA}/{{{{ ds }}}}/set --source '{ARCHIVE}' --json",
        skip_on_exit_code=99,
        retries=0,  # exit code 3: the leak check failed
    )
    train = BashOperator(
        task_id="train",
        bash_command=f"penstock model train fraud --backfill {DATA}/{{{{ ds }}}}/train"
        f" --until {{{{ macros.ds_add(ds, -7) }}}} --source '{ARCHIVE}' --author airflow",
        retries=0,  # each run makes a version
    )
    check = BashOperator(
        task_id="check",
        bash_command=f"penstock model check fraud --backfill {DATA}/{{{{ ds }}}}/check --json",
        retries=0,
    )
    backfill >> training_set >> train >> check
    later >> check
