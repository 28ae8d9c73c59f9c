# One image for `tradepost serve`, `worker`, `migrate` and `smoke`. The last stage is what is released;
# the stage `dev` is for `skaffold dev` alone. docs/adr/0027 says why it is built as it is.

FROM python:3.13-slim AS base
# Nothing is written beside the code at run time: the bytecode of all that is imported stands in
# /app/bytecode, that of the standard library too, which the base image comes without.
ENV PATH=/app/venv/bin:$PATH \
    PYTHONPYCACHEPREFIX=/app/bytecode \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    DATA_DIR=/tmp/tradepost \
    ENVIRONMENT=production
RUN groupadd --gid 10001 tradepost \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tradepost \
    && install -d -o 10001 -g 10001 /run/tradepost /run/tradepost/metrics /run/tradepost/drain
WORKDIR /app


FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /build/
# Wheels alone, each with a hash of the lock: no package runs code of its own while the image is built.
RUN python -m venv --without-pip /app/venv \
    && /usr/local/bin/python -m pip --python /app/venv/bin/python install --no-cache-dir --no-compile --no-deps \
        --only-binary :all: --require-hashes --requirement /build/requirements.lock
# A third of it all is symbols for debuggers, tests, sources in C, and what reads AVIF pictures and draws
# fonts in Pillow, which reportlab imports and invoices, with fonts of their own, never call.
COPY tools/image_contents.py /build/
RUN find /app/venv -type f -name '*.so*' -exec strip --strip-unneeded {} + \
    && find /app/venv -type d \( -name tests -o -path '*/alembic/testing' -o -path '*/reportlab/fonts' \
        -o -path '*/sqlalchemy/testing' \) -prune -exec rm -r {} + \
    && find /app/venv -type f \( -regex '.*\.\(c\|cpp\|h\|hpp\|pxd\|pxi\|pyi\|pyx\)' \
        -o -regex '.*/PIL/_\(avif\|imagingft\)\..*' \
        -o -regex '.*/pillow\.libs/lib\(avif\|brotli.*\|freetype\|harfbuzz\|png.*\)-.*' \) -delete \
    && /app/venv/bin/python /build/image_contents.py libraries /app/venv
COPY LICENSE /app/
COPY service /app/service
# What only development needs. The stage `dev` has it.
RUN rm -r /app/service/dev
# The code lies in /app as in the repository; the virtual environment knows where, and how to begin.
RUN echo /app > "$(find /app/venv/lib -type d -name site-packages)/tradepost.pth" \
    && printf '%s\n' '#!/app/venv/bin/python' 'import sys' '' 'from service.__main__ import main' '' \
        'if __name__ == "__main__":' '    sys.exit(main())' > /app/venv/bin/tradepost \
    && chmod +x /app/venv/bin/tradepost \
    && /app/venv/bin/python /build/image_contents.py bytecode


FROM build AS dev
COPY requirements-dev.lock /build/
COPY sample /app/sample
COPY service /app/service
RUN awk '/^[^ ]/ { chosen = /^(debugpy|watchfiles)==/ } chosen' /build/requirements-dev.lock > /build/dev.lock \
    && /usr/local/bin/python -m pip --python /app/venv/bin/python install --no-cache-dir --no-compile --no-deps \
        --only-binary :all: --require-hashes --requirement /build/dev.lock \
    && rm -r /app/bytecode/app/service \
    && chown -R 10001:10001 /app
USER 10001:10001
EXPOSE 8000 9090 5678
ENTRYPOINT ["tradepost"]
CMD ["dev"]


FROM base
# What installs software is not needed any more.
RUN /usr/local/bin/python -m pip uninstall --quiet --yes --root-user-action ignore pip \
    && rm -r "$(/usr/local/bin/python -c 'import ensurepip; print(*ensurepip.__path__)')"
COPY --from=build /app/LICENSE /app/
COPY --from=build /app/venv /app/venv
COPY --from=build /app/bytecode /app/bytecode
COPY --from=build /app/service /app/service
USER 10001:10001
# The API or the probes of a worker, and the metrics.
EXPOSE 8000 9090
# Gunicorn and the worker finish what runs; `serve` is process 1, with no shell between.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tradepost"]
CMD ["serve"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Tradepost" \
    org.opencontainers.image.description="The backend of a shop as one platform service" \
    org.opencontainers.image.licenses="Apache-2.0 AND OFL-1.1" \
    org.opencontainers.image.base.name="docker.io/library/python:3.13-slim" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED"
