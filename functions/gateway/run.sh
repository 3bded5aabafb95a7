#!/bin/sh
# What AWS's Lambda Web Adapter runs in place of a handler (AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap);
# the local cloud does the same. Idle connections stay open: the adapter closes them, not we.
if [ -n "${LAMBDA_RUNTIME_DIR:-}" ]; then
    export PYTHONPATH="$LAMBDA_TASK_ROOT:/opt/python:$LAMBDA_RUNTIME_DIR"
fi
exec python -m uvicorn functions.gateway.stream:app --host 127.0.0.1 --port "${AWS_LWA_PORT:-8080}" \
    --http httptools --loop asyncio --log-level warning --no-access-log --no-server-header \
    --no-date-header --timeout-keep-alive 3600
