"""What a Celery worker runs: `celery --app sync_assets.celery_app worker --queues dagster`.

It takes steps from the broker in SYNC_CELERY_BROKER and needs the environment of the process that
hands them out: see docs/scale-out.md.
"""

from __future__ import annotations

import os

from dagster_celery.executor import CeleryExecutor
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from sync_assets.executors import CELERY_SETTINGS, celery_urls

# dagster-celery's functions are not annotated.
# mypy: disable-error-code="no-untyped-call"

# As the executor makes its own: both ends of the queue have to agree.
executor = CeleryExecutor.for_cli(**celery_urls(os.environ), config_source=dict(CELERY_SETTINGS))
app = make_app(executor.app_args())
execute_plan = create_task(app)
