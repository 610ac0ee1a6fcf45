// What one process of tus-js-client does, by a JSON argument. It tells each exchange, and an error, in a line of JSON.
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";

const given = JSON.parse(process.argv[2]);
const tus = createRequire(`${given.modules}/`)("tus-js-client");
const headers = { Authorization: `Bearer ${given.key}` };
const tell = (what) => console.log(JSON.stringify(what));

if (given.terminate) {
  await tus.Upload.terminate(given.terminate, { headers });
} else {
  const upload = new tus.Upload(createReadStream(given.file), {
    endpoint: given.endpoint,
    headers,
    metadata: { path: given.path },
    urlStorage: new tus.FileUrlStorage(given.storage),
    retryDelays: null,
    onAfterResponse: (request, response) =>
      tell({
        method: request.getMethod(),
        url: request.getURL(),
        status: response.getStatus(),
        location: response.getHeader("Location"),
        offset: Number(response.getHeader("Upload-Offset")),
      }),
    onError: (error) => tell({ error: String(error) }),
  });
  const [begun] = await upload.findPreviousUploads();
  if (begun) {
    upload.resumeFromPreviousUpload(begun);
  }
  upload.start();
}
