// Routes for the dashboard and the API's documentation.

import type { OpenAPIHono } from "@hono/zod-openapi";
import { z } from "zod";
import { PAGE_FILES, type PageFile, pageFile, pagePolicy } from "../../web/page.ts";
import { apiDocument, type Document } from "../docs/document.ts";
import { DOCS_POLICY, docsPage } from "../docs/page.ts";
import { example, headers, json, text } from "./answers.ts";
import { describe, get } from "./route.ts";

/** Paths that never require a token. */
export const OPEN_PATHS: readonly string[] = [
  ...Object.keys(PAGE_FILES),
  "/healthz",
  "/readyz",
  "/openapi.json",
  "/docs",
];

export function pageRoutes(app: OpenAPIHono): void {
  for (const [path, file] of Object.entries(PAGE_FILES)) {
    app.get(path, async (c) => {
      const gzip = acceptsGzip(c.req.header("accept-encoding")) ? file.gzip : null;
      // The compressed file is another representation of the resource, so it needs another ETag (RFC 9110, section
      // 8.8.3.3).
      const hash = await file.hash(), etag = gzip === null ? `"${hash}"` : `"${hash}-gzip"`;
      const headers = {
        "content-type": file.type,
        ...isDocument(file.type)
          ? { "content-security-policy": await pagePolicy(), "referrer-policy": "no-referrer" }
          : {},
        "cache-control": "no-cache",
        ...gzip === null ? {} : { "content-encoding": "gzip" },
        ...file.gzip === null ? {} : { vary: "accept-encoding" },
        etag,
      };
      const isKnown = c.req.header("if-none-match")?.includes(etag);
      if (isKnown) return c.body(null, 304, headers);
      return c.body(gzip === null ? file.body : await gzip(), 200, headers);
    });
  }

  let document: Document | undefined;
  const documentOnce = () => document ??= apiDocument(app);
  app.get("/openapi.json", (c) => c.json(documentOnce()));

  // Cache the page for the latest origin only: the page's examples contain the origin.
  let docs: { readonly origin: string; readonly file: Promise<PageFile> } | undefined;
  app.get("/docs", async (c) => {
    const { origin } = new URL(c.req.url);
    if (docs?.origin !== origin) {
      const page = docsPage(documentOnce(), origin);
      docs = { origin, file: page.then((html) => pageFile("text/html; charset=utf-8", html)) };
    }
    const file = await docs.file;
    const gzip = acceptsGzip(c.req.header("accept-encoding")) ? file.gzip : null;
    return c.body(gzip === null ? file.body : await gzip(), 200, {
      "content-type": file.type,
      "content-security-policy": DOCS_POLICY,
      "referrer-policy": "no-referrer",
      ...gzip === null ? {} : { "content-encoding": "gzip" },
      vary: "accept-encoding",
    });
  });
  describePages(app);
}

/** Whether a browser shows files of this type as pages. Security policies have no effect on other files. */
function isDocument(type: string): boolean {
  return /^(text\/html|image\/svg\+xml)\b/.test(type);
}

/** Whether `Accept-Encoding` names gzip, and not with q=0. */
function acceptsGzip(header = ""): boolean {
  return header.split(",").some((entry) => {
    const [coding, quality = ""] = entry.split(";");
    return coding.trim().toLowerCase() === "gzip" && !/^\s*q=0(\.0*)?\s*$/i.test(quality);
  });
}

function describePages(app: OpenAPIHono): void {
  const tags = ["Documentation"];
  const start = { info: { title: "DataMgmt Node", version: "0.1.0" }, paths: {} };
  describe(app, {
    tags,
    ...get("/openapi.json", "readDocument", "Read this document"),
    description: "This document, generated from the schemas that validate requests.",
    responses: {
      200: json(
        "OpenAPI 3.1",
        z.any().meta({ type: "object" }),
        example("Its beginning", { openapi: "3.1.0", ...start }),
      ),
    },
  });
  const page = { "text/html": text("page", "Its beginning", "<!doctype html>") };
  describe(app, {
    tags,
    ...get("/docs", "readReference", "Read this document as a page"),
    description:
      "The page loads nothing from other hosts. It has examples in curl, TypeScript and Python, and forms that send requests. A token that is entered there stays in the page's memory.",
    responses: {
      200: {
        description: "The page",
        headers: headers("Content-Security-Policy", "Referrer-Policy"),
        content: page,
      },
    },
  });
  const dashboard = headers("Content-Security-Policy", "ETag", "Referrer-Policy");
  describe(app, {
    tags,
    ...get("/", "openDashboard", "Open the dashboard"),
    description: "The dashboard is a page for browsers.",
    responses: {
      200: { description: "The page", headers: dashboard, content: page },
      304: { description: "Unchanged", headers: dashboard },
    },
  });
}
