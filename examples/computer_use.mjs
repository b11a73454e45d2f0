// A model that sees the screen and uses mouse and keyboard: any that speaks OpenAI's chat API with pictures and tools.
// Set GLASSHOUSE_SERVER, GLASSHOUSE_TOKEN, OPENAI_API_KEY, and for another model OPENAI_BASE_URL and MODEL.
import { Glasshouse } from 'glasshouse';

const url = process.argv[2] ?? 'https://example.com';
const task = process.argv[3] ?? 'Follow the link on this page, and say what is behind it.';

const number = { type: 'integer' };
const tool = (name, description, properties) => ({ type: 'function', function: { name, description, parameters: { type: 'object', properties, required: Object.keys(properties) } } });
const tools = [
  tool('click', 'Click at a place of the screen, in pixels.', { x: number, y: number }),
  tool('type', 'Type text.', { text: { type: 'string' } }),
  tool('press', 'Press a key or a combination, such as Return or ctrl+l.', { key: { type: 'string' } }),
  tool('scroll', 'Turn the wheel down (positive) or up, in clicks.', { x: number, y: number, clicks: number }),
];

async function ask(messages) {
  const response = await fetch(`${process.env.OPENAI_BASE_URL ?? 'https://api.openai.com/v1'}/chat/completions`, {
    method: 'POST', headers: { authorization: `Bearer ${process.env.OPENAI_API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: process.env.MODEL ?? 'gpt-4.1', messages, tools }),
  });
  if (!response.ok) throw new Error(`the model answered ${response.status}: ${await response.text()}`);
  return (await response.json()).choices[0].message;
}

const session = await new Glasshouse().create({ url });
try {
  const actions = {
    click: ({ x, y }) => session.click(x, y),
    type: ({ text }) => session.type(text),
    press: ({ key }) => session.press(key),
    scroll: ({ x, y, clicks }) => session.scroll(x, y, 0, clicks),
  };
  const screen = async () => {
    await session.waitForStable({ timeoutMs: 5_000 });
    const picture = Buffer.from(await session.screenshot()).toString('base64');
    return { role: 'user', content: [{ type: 'text', text: 'The screen now:' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${picture}` } }] };
  };
  const messages = [{ role: 'system', content: `You use a computer. ${task}` }, await screen()];
  for (let step = 0; step < 20; step += 1) {
    const message = await ask(messages);
    messages.push(message);
    if (!message.tool_calls?.length) {
      console.log(message.content);
      break;
    }
    for (const { id, function: { name, arguments: given } } of message.tool_calls) {
      const result = await actions[name](JSON.parse(given)).then(() => 'done', (error) => error.message);
      messages.push({ role: 'tool', tool_call_id: id, content: result });
    }
    messages.push(await screen());
  }
} finally {
  await session.delete();
}
