#!/bin/sh
echo "the server starts"
exec python -m uvicorn functions.streamer.server:app --port "$AWS_LWA_PORT" --http httptools \
    --log-level warning --no-access-log --no-server-header --no-date-header --timeout-keep-alive 3600
