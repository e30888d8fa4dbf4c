// Requests to the service: the key along with each, refusals as errors, a job's events as they come.

const keyField = document.getElementById("key");
keyField.value = sessionStorage.getItem("pangu-key") ?? "";
keyField.addEventListener("change", () => sessionStorage.setItem("pangu-key", keyField.value.trim()));

export const hasKey = () => keyField.value.trim() !== "";

export async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  if (hasKey()) headers.Authorization = `Bearer ${keyField.value.trim()}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  const error = new Error(told?.error?.message ?? `status ${answer.status}`);
  error.status = answer.status;
  throw error;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

export const send = (path, body) =>
  askJson(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// Calls `tell(name, data)` for each event up to the job's end; a broken line is taken up again where it broke.
export async function listen(job, tell) {
  let last = 0;
  for (let attempt = 0; attempt < 5; attempt += 1) {
    try {
      const answer = await ask(job.events_url.slice(1), { headers: last ? { "Last-Event-ID": String(last) } : {} });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        let end;
        while ((end = text.indexOf("\n\n")) >= 0) {
          const fields = Object.fromEntries(text.slice(0, end).split("\n").map((line) => line.split(/: (.*)/s)));
          text = text.slice(end + 2);
          last = Number(fields.id);
          attempt = 0;
          tell(fields.event, JSON.parse(fields.data));
          if (["succeeded", "failed", "cancelled"].includes(fields.event)) return;
        }
      }
    } catch (error) {
      if (error.status) throw error;
    }
    await new Promise((resume) => setTimeout(resume, 300 * (attempt + 1)));
  }
  throw new Error("the line to the service broke");
}
