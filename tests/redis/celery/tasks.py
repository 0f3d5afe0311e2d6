"""An app's tasks: what they have done stands in a list that no version has for itself.

Run as a program it sends the tasks that it is told of on its standard input, as an app does.
"""

import os
import sys
import time

from celery import Celery
from redis import Redis

URL = os.environ["REDIS_URL"]
app = Celery("tasks", broker=URL, backend=URL)
app.conf.broker_connection_retry_on_startup = True
store = Redis.from_url(URL)


def done(number):
    store.rpush("done", f"{os.environ['VERSION']} {number}")


@app.task
def good(number):
    done(number)


@app.task
def slow(number):
    store.rpush("begun", number)
    time.sleep(4)
    done(number)


@app.task
def picky(_number):
    """Fails on the new version only, unless somebody has mended it."""
    if os.environ["VERSION"] == "1.1.0" and "MENDED" not in os.environ:
        raise RuntimeError("cannot do this")


@app.task(bind=True, max_retries=1)
def again(self, number):
    """Fails once."""
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    done(number)


@app.task(ignore_result=True)
def silent(number):
    done(number)


if __name__ == "__main__":
    for line in sys.stdin:
        name, number = line.split()
        app.tasks[f"tasks.{name}"].delay(int(number))
