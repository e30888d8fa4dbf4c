// An order as a command and as a program that send the same thing; drawn pictures go along as files.

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function split(body) {
  const files = [];
  const members = body.members?.map((member) => ({
    ...member,
    ...(member.condition_images && {
      condition_images: member.condition_images.map((said) => {
        if (!said.startsWith("data:")) return said;
        files.push({ name: `picture${files.length}.png`, data: said });
        return `upload:picture${files.length - 1}`;
      }),
    }),
  }));
  return [members ? { ...body, members } : body, files];
}

export function asCurl(url, body, hasKey) {
  const [order, files] = split(body);
  const text = JSON.stringify(order, null, 1);
  const key = hasKey ? ' \\\n  -H "Authorization: Bearer $PANGU_API_KEY"' : "";
  if (!files.length) return `curl ${url}${key} \\\n  -H 'Content-Type: application/json' -d ${quote(text)}`;
  const parts = files.map((file) => ` \\\n  -F ${file.name.replace(".png", "")}=@${file.name}`).join("");
  return `curl ${url}${key} \\\n  -F request=${quote(text)}${parts}`;
}

export function asPython(url, body, hasKey) {
  const [order, files] = split(body);
  const key = hasKey ? 'headers = {"Authorization": f"Bearer {os.environ[\'PANGU_API_KEY\']}"}\n' : "headers = {}\n";
  const literal = JSON.stringify(order, null, 4).replace(/\btrue\b/g, "True").replace(/\bnull\b/g, "None");
  const named = files.map((file) => `"${file.name.replace(".png", "")}": open("${file.name}", "rb")`).join(", ");
  const call = files.length
    ? `files = {${named}}\nanswer = requests.post("${url}", headers=headers, data={"request": json.dumps(order)}, files=files)`
    : `answer = requests.post("${url}", headers=headers, json=order)`;
  const imports = ["base64", ...(files.length ? ["json"] : []), ...(hasKey ? ["os"] : [])].map((name) => `import ${name}`).join("\n");
  return `${imports}\n\nimport requests\n\n${key}order = ${literal}\n${call}\nanswer.raise_for_status()\n` +
    `for number, entry in enumerate(answer.json()["data"]):\n    with open(f"fused{number}.png", "wb") as file:\n` +
    `        file.write(base64.b64decode(entry["b64_json"]))\n`;
}
