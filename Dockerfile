# The wheel and its pinned dependencies are put into a virtual environment, which alone goes into the image that runs.
FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/receiver \
 && /opt/receiver/bin/python -m pip install --require-hashes -r requirements.lock
RUN python -m pip install --require-hashes -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY receiver ./receiver
COPY fixtures ./fixtures
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/receiver/bin/python -m pip install --no-deps /dist/*.whl


FROM python:3.13-slim
COPY --from=build /opt/receiver /opt/receiver
RUN install -d -o 10001 -g 10001 -m 0700 /data
ENV PATH=/opt/receiver/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RECEIVER_DATABASE_URL=sqlite:////data/receiver.db \
    RECEIVER_HOST=0.0.0.0 \
    RECEIVER_LOG_FORMAT=json

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('RECEIVER_PORT', '8080') + '/livez', timeout=2)"]
ENTRYPOINT ["receiver"]
CMD ["serve"]
