# pnag for this machine's CPU, LiteRT and phones over TCP: docker build -t pnag . (docs/ci.md)
FROM python:3.13.5-slim-bookworm AS build
ARG EXTRAS=train,serve
WORKDIR /src
COPY constraints.txt pyproject.toml setup.py README.md LICENSE ./
COPY profiler profiler
COPY predictors predictors
COPY pnag pnag
COPY docs docs
# From this index torch is built without CUDA.
RUN python -m venv /opt/pnag \
 && /opt/pnag/bin/pip install --no-cache-dir -c constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu ".[${EXTRAS}]"

FROM python:3.13.5-slim-bookworm
COPY --from=build /opt/pnag /opt/pnag
RUN useradd --uid 1000 --create-home pnag && install --directory --owner pnag /work
ENV PATH=/opt/pnag/bin:$PATH
USER 1000
WORKDIR /work
ENTRYPOINT ["pnag"]
CMD ["--help"]
