// What users of the JavaScript SDK do, against the gateway at $OPENAI_BASE_URL; prints one JSON
// object that the test reads.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];

async function plain() {
  const { data, response } = await client.chat.completions
    .create({ model: "auto", messages, temperature: 0 })
    .withResponse();
  return {
    text: data.choices[0].message.content,
    tier: response.headers.get("x-gateway-tier"),
    cost: data.usage.cost,
    requestId: data._request_id,
  };
}

async function stream(model) {
  const chunks = await client.chat.completions.create({
    model,
    messages,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage = null;
  for await (const chunk of chunks) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text: text.trim(), completionTokens: usage.completion_tokens, cost: usage.cost };
}

async function streamHelper() {
  let deltas = 0;
  const runner = client.chat.completions
    .stream({ model: "gpt-4o", messages })
    .on("content", () => (deltas += 1));
  return { text: (await runner.finalContent()).trim(), deltas };
}

async function tools(options) {
  const cities = [];
  const runner = client.chat.completions.runTools({
    model: "auto@0",
    messages,
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          description: "The weather in a city.",
          parameters: { type: "object", properties: { city: { type: "string" } } },
          parse: JSON.parse,
          function: ({ city }) => {
            cities.push(city);
            return `sunny in ${city}`;
          },
        },
      },
    ],
    ...options,
  });
  return { text: (await runner.finalContent()).trim(), cities };
}

async function refusal() {
  try {
    await client.chat.completions.create({ model: "absent", messages });
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code };
  }
}

async function models() {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  return names;
}

console.log(
  JSON.stringify({
    plain: await plain(),
    small: await stream("smollm2"),
    large: await stream("gpt-4o"),
    helper: await streamHelper(),
    tools: await tools({}),
    streamedTools: await tools({ stream: true }),
    refusal: await refusal(),
    models: await models(),
  }),
);
