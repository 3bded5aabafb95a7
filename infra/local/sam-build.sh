#!/bin/sh
# sam build, offline once the layer's wheels are fetched, then slimmed and compiled: .aws-sam/build.
set -eu
cd "$(dirname "$0")/../.."
python="$(infra/local/find-python.sh 3.13)"
# SAM looks for the runtime's interpreter on PATH; pip takes the wheels from the folder.
PATH="$(dirname "$python"):$PATH"
wheels="file://$(pwd | sed 's/ /%20/g')/.tools/wheels"
export PATH PIP_NO_INDEX=1 PIP_FIND_LINKS="$wheels" PIP_DISABLE_PIP_VERSION_CHECK=1 SAM_CLI_TELEMETRY=0
.tools/sam/bin/python -m samcli build --cached "$@"
"$python" infra/local/slim_build.py .aws-sam/build
